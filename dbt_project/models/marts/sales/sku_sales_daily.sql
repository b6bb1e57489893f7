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

sold as (
    select
        lines.ordered_on as day,
        lines.sku_id,
        lines.sku,
        lines.department,
        lines.category,
        lines.warehouse,
        lines.channel,
        lines.country,
        lines.quantity - lines.cancelled as units,
        0 as returned_units,
        lines.gross_sales,
        lines.discounts,
        lines.tax,
        cast(0 as decimal(18, 2)) as returns,
        lines.cost
    from {{ ref('fct_order_lines') }} as lines
    inner join days on lines.ordered_on = days.day
),

returned as (
    select
        returns.refunded_on as day,
        returns.sku_id,
        returns.sku,
        returns.department,
        returns.category,
        returns.warehouse,
        returns.channel,
        returns.country,
        0 as units,
        returns.quantity as returned_units,
        cast(0 as decimal(18, 2)) as gross_sales,
        cast(0 as decimal(18, 2)) as discounts,
        cast(0 as decimal(18, 2)) as tax,
        returns.returned_sales as returns,
        cast(0 as decimal(18, 2)) as cost
    from {{ ref('fct_returns') }} as returns
    inner join days on returns.refunded_on = days.day
),

both_kinds as (
    select * from sold
    union all
    select * from returned
)

select
    day,
    sku_id,
    sku,
    department,
    category,
    warehouse,
    channel,
    country,
    cast(sum(units) as bigint) as units,
    cast(sum(returned_units) as bigint) as returned_units,
    cast(sum(gross_sales) as decimal(18, 2)) as gross_sales,
    cast(sum(discounts) as decimal(18, 2)) as discounts,
    cast(sum(tax) as decimal(18, 2)) as tax,
    cast(sum(returns) as decimal(18, 2)) as returns,
    cast(sum(gross_sales - discounts - returns) as decimal(18, 2)) as net_sales,
    cast(sum(cost) as decimal(18, 2)) as cost,
    cast(sum(gross_sales - discounts - returns - cost) as decimal(18, 2)) as gross_margin
from both_kinds
group by day, sku_id, sku, department, category, warehouse, channel, country
