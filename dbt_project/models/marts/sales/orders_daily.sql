{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('day', ref('int_touched_days')) }}"
    )
}}
with days as (
    select distinct day from {{ ref('int_touched_days') }}
),

ordered as (
    select
        orders.ordered_on as day,
        orders.warehouse,
        orders.channel,
        1 as orders,
        case when orders.status = 'cancelled' then 1 else 0 end as cancelled_orders,
        case when orders.backordered_units > 0 then 1 else 0 end as backordered_orders,
        orders.units,
        orders.gross_sales,
        orders.discounts,
        cast(0 as decimal(18, 2)) as returns
    from {{ ref('fct_orders') }} as orders
    inner join days on orders.ordered_on = days.day
),

returned as (
    select
        returns.refunded_on as day,
        returns.warehouse,
        returns.channel,
        0 as orders,
        0 as cancelled_orders,
        0 as backordered_orders,
        0 as units,
        cast(0 as decimal(18, 2)) as gross_sales,
        cast(0 as decimal(18, 2)) as discounts,
        returns.returned_sales as returns
    from {{ ref('fct_returns') }} as returns
    inner join days on returns.refunded_on = days.day
),

both_kinds as (
    select * from ordered
    union all
    select * from returned
)

select
    day,
    warehouse,
    channel,
    cast(sum(orders) as bigint) as orders,
    cast(sum(cancelled_orders) as bigint) as cancelled_orders,
    cast(sum(backordered_orders) as bigint) as backordered_orders,
    cast(sum(units) as bigint) as units,
    cast(sum(gross_sales) as decimal(18, 2)) as gross_sales,
    cast(sum(discounts) as decimal(18, 2)) as discounts,
    cast(sum(returns) as decimal(18, 2)) as returns,
    cast(sum(gross_sales - discounts - returns) as decimal(18, 2)) as net_sales
from both_kinds
group by day, warehouse, channel
