{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget_stock_from_day() }}"
    )
}}
-- Units at the start and the end of each day, per warehouse and SKU, from its first move on.
with touched as (
    select * from {{ ref('int_touched_stock') }}
),

days as (
    select
        touched.warehouse_id,
        touched.sku_id,
        calendar.day
    from touched
    inner join {{ ref('int_calendar') }} as calendar on touched.from_day <= calendar.day
),

moves as (
    select
        warehouse_id,
        sku_id,
        moved_on as day,
        sum(case when reason = 'receipt' then quantity_in - quantity_out else 0 end) as received,
        sum(case when reason = 'shipment' then quantity_out - quantity_in else 0 end) as shipped,
        sum(case when reason = 'return' then quantity_in - quantity_out else 0 end) as returned,
        sum(
            case
                when reason in ('receipt', 'shipment', 'return') then 0
                else quantity_in - quantity_out
            end
        ) as adjusted,
        sum(quantity_in - quantity_out) as change
    from {{ ref('int_stock_moves') }}
    group by warehouse_id, sku_id, moved_on
),

before as (
    select
        touched.warehouse_id,
        touched.sku_id,
        coalesce(sum(moves.change), 0) as units
    from touched
    left join moves
        on
            touched.warehouse_id = moves.warehouse_id
            and touched.sku_id = moves.sku_id
            and touched.from_day > moves.day
    group by touched.warehouse_id, touched.sku_id
),

running as (
    select
        days.day,
        days.warehouse_id,
        days.sku_id,
        coalesce(moves.received, 0) as received,
        coalesce(moves.shipped, 0) as shipped,
        coalesce(moves.returned, 0) as returned,
        coalesce(moves.adjusted, 0) as adjusted,
        coalesce(moves.change, 0) as change,
        before.units + sum(coalesce(moves.change, 0)) over (
            partition by days.warehouse_id, days.sku_id order by days.day
        ) as on_hand
    from days
    inner join before
        on days.warehouse_id = before.warehouse_id and days.sku_id = before.sku_id
    left join moves
        on
            days.warehouse_id = moves.warehouse_id
            and days.sku_id = moves.sku_id
            and days.day = moves.day
)

select
    day,
    warehouse_id,
    sku_id,
    cast(on_hand - change as bigint) as opening,
    cast(received as bigint) as received,
    cast(shipped as bigint) as shipped,
    cast(returned as bigint) as returned,
    cast(adjusted as bigint) as adjusted,
    cast(on_hand as bigint) as on_hand
from running
