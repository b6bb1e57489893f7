{{ config(materialized='view') }}
-- Every move as its effect on a warehouse: units in or out of storage.
with moves as (
    select * from {{ ref('stg_stock_moves') }} where _op <> 'D'
),

storage as (
    select id, warehouse_id from {{ ref('stg_locations') }} where kind = 'storage' and _op <> 'D'
)

select
    moves.id as move_id,
    storage.warehouse_id,
    moves.sku_id,
    moves.reason,
    moves.reference,
    moves.occurred_at,
    {{ shop_day('moves.occurred_at') }} as moved_on,
    moves.quantity as quantity_in,
    cast(0 as bigint) as quantity_out,
    moves.unit_cost_minor,
    moves._file
from moves
inner join storage on moves.to_location_id = storage.id

union all

select
    moves.id as move_id,
    storage.warehouse_id,
    moves.sku_id,
    moves.reason,
    moves.reference,
    moves.occurred_at,
    {{ shop_day('moves.occurred_at') }} as moved_on,
    cast(0 as bigint) as quantity_in,
    moves.quantity as quantity_out,
    moves.unit_cost_minor,
    moves._file
from moves
inner join storage on moves.from_location_id = storage.id
