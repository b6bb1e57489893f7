{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget_stock_from_day() }}"
    )
}}
-- Units at the start and the end of each day, per warehouse and SKU, from its first move on. The first
-- of the days that are done again opens with what the day before it, which stays, closed with.
with touched as (
    select * from {{ ref('int_touched_stock') }}
),

days as (
    select
        touched.warehouse_id,
        touched.sku_id,
        touched.from_day,
        calendar.day
    from touched
    inner join {{ ref('int_calendar') }} as calendar on touched.from_day <= calendar.day
),

effects as (
    select
        moves.warehouse_id,
        moves.sku_id,
        moves.moved_on as day,
        moves.reason,
        moves.quantity_in - moves.quantity_out as units
    from {{ ref('int_stock_moves') }} as moves
    inner join touched
        on
            moves.warehouse_id = touched.warehouse_id
            and moves.sku_id = touched.sku_id
            and moves.moved_on >= touched.from_day
),

moves as (
    select
        warehouse_id,
        sku_id,
        day,
        sum(case when reason = 'receipt' then units else 0 end) as received,
        sum(case when reason = 'shipment' then -units else 0 end) as shipped,
        sum(case when reason = 'return' then units else 0 end) as returned,
        sum(case when reason in ('receipt', 'shipment', 'return') then 0 else units end)
            as adjusted,
        sum(units) as change
    from effects
    group by warehouse_id, sku_id, day
),

before as (
    {%- if is_incremental() %}
    select
        warehouse_id,
        sku_id,
        {{ add_days('day', 1) }} as from_day,
        on_hand as units
    from {{ this }}
    {%- else %}
    select
        warehouse_id,
        sku_id,
        from_day,
        0 as units
    from touched
    {%- endif %}
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
        coalesce(before.units, 0) + sum(coalesce(moves.change, 0)) over (
            partition by days.warehouse_id, days.sku_id order by days.day
        ) as on_hand
    from days
    left join before
        on
            days.warehouse_id = before.warehouse_id
            and days.sku_id = before.sku_id
            and days.from_day = before.from_day
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
