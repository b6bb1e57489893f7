{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
-- depends_on: {{ ref('int_touched_days') }}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

lines as (
    select lines.*
    from {{ ref('stg_order_lines') }} as lines
    inner join touched on lines.order_id = touched.order_id
    where lines._op <> 'D'
),

orders as (
    select orders.*
    from {{ ref('stg_orders') }} as orders
    inner join touched on orders.id = touched.order_id
    where orders._op <> 'D'
),

skus as (
    select * from {{ ref('dim_skus') }}
),

warehouses as (
    select * from {{ ref('dim_warehouses') }}
),

at_capture as (
    select captured.*
    from {{ ref('int_lines_at_capture') }} as captured
    inner join lines on captured.id = lines.id
),

-- What is kept of each amount when units are cancelled.
kept as (
    select
        lines.*,
        lines.unit_price_minor * (lines.quantity - lines.cancelled) as gross_kept_minor,
        {{ share_of('lines.discount_minor', 'lines.quantity - lines.cancelled', 'lines.quantity') }}
            as discount_kept_minor,
        {{ share_of(
            'coalesce(lines.rounding_minor, 0)', 'lines.quantity - lines.cancelled', 'lines.quantity'
        ) }} as rounding_kept_minor,
        {{ share_of(
            'coalesce(lines.tax_minor, 0)', 'lines.quantity - lines.cancelled', 'lines.quantity'
        ) }} as tax_kept_minor,
        case when orders.tax_included then 1 else 0 end as has_tax_in_price
    from lines
    inner join orders on lines.order_id = orders.id
),

-- In the base currency, which costs are in.
measured as (
    select
        kept.*,
        {{ base_minor('kept.unit_price_minor', 'orders') }} as base_price_minor,
        {{ base_minor(
            'kept.gross_kept_minor + kept.rounding_kept_minor - kept.tax_kept_minor * kept.has_tax_in_price',
            'orders'
        ) }} as sold_gross_minor,
        {{ base_minor('kept.discount_kept_minor', 'orders') }} as sold_discount_minor,
        {{ base_minor('kept.tax_kept_minor', 'orders') }} as sold_tax_minor,
        (kept.quantity - kept.cancelled) * kept.unit_cost_minor as sold_cost_minor
    from kept
    inner join orders on kept.order_id = orders.id
)

select
    measured.id as order_line_id,
    measured.order_id,
    orders.number as order_number,
    measured.line_no,
    {{ shop_day('orders.placed_at') }} as ordered_on,
    measured.sku_id,
    skus.sku,
    skus.sku_name,
    skus.department,
    skus.category,
    skus.brand,
    warehouses.warehouse,
    orders.channel,
    orders.ship_country as country,
    orders.customer_id,
    orders.status as order_status,
    orders.currency,
    measured.quantity,
    {{ money('measured.base_price_minor') }} as unit_price,
    {{ money('measured.sold_gross_minor') }} as gross_sales,
    {{ money('measured.sold_discount_minor') }} as discounts,
    {{ money('measured.sold_tax_minor') }} as tax,
    {{ money('measured.sold_cost_minor') }} as cost,
    {{ money('measured.sold_gross_minor - measured.sold_discount_minor - measured.sold_cost_minor') }}
        as gross_margin,
    case
        when at_capture.allocated < measured.quantity - measured.cancelled then at_capture.allocated
        when at_capture.allocated is not null then measured.quantity - measured.cancelled
    end as filled_at_once,
    measured.allocated,
    measured.backordered,
    measured.shipped,
    measured.cancelled,
    measured.returned
from measured
inner join orders on measured.order_id = orders.id
inner join skus on measured.sku_id = skus.sku_id
inner join warehouses on orders.warehouse_id = warehouses.warehouse_id
left join at_capture on measured.id = at_capture.id
