{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('move_id', ref('int_touched_moves')) }}"
    )
}}
-- Every move as its effect on a warehouse's stock: units into it or out of it. What is in its bins
-- is on hand as what is on its floor; what is in quarantine or travels is not. A move within the
-- stock of one warehouse changes nothing here.
with moves as (
    select staged.*
    from {{ ref('stg_stock_moves') }} as staged
    inner join {{ ref('int_touched_moves') }} as touched on staged.id = touched.move_id
    where staged._op <> 'D'
),

places as (
    select id, warehouse_id
    from {{ ref('stg_locations') }}
    where kind in ('storage', 'bin') and _op <> 'D'
),

ends as (
    select
        moves.id as move_id,
        moves.sku_id,
        moves.reason,
        moves.reference,
        moves.occurred_at,
        {{ shop_day('moves.occurred_at') }} as moved_on,
        moves.quantity,
        moves.unit_cost_minor,
        moves._file,
        destinations.warehouse_id as to_warehouse_id,
        origins.warehouse_id as from_warehouse_id
    from moves
    left join places as destinations on moves.to_location_id = destinations.id
    left join places as origins on moves.from_location_id = origins.id
    where coalesce(destinations.warehouse_id, 0) <> coalesce(origins.warehouse_id, 0)
)

select
    move_id,
    to_warehouse_id as warehouse_id,
    sku_id,
    reason,
    reference,
    occurred_at,
    moved_on,
    quantity as quantity_in,
    cast(0 as bigint) as quantity_out,
    unit_cost_minor,
    _file
from ends
where to_warehouse_id is not null

union all

select
    move_id,
    from_warehouse_id as warehouse_id,
    sku_id,
    reason,
    reference,
    occurred_at,
    moved_on,
    cast(0 as bigint) as quantity_in,
    quantity as quantity_out,
    unit_cost_minor,
    _file
from ends
where from_warehouse_id is not null
