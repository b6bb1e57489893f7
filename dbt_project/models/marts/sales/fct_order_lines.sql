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
    select
        lines.*,
        lines.cancelled = lines.quantity as is_cancelled
    from {{ ref('stg_order_lines') }} as lines
    inner join touched on lines.order_id = touched.order_id
    where lines._op <> 'D'
),

orders as (
    select * from {{ ref('stg_orders') }} where _op <> 'D'
),

skus as (
    select * from {{ ref('dim_skus') }}
),

warehouses as (
    select * from {{ ref('dim_warehouses') }}
),

measured as (
    select
        *,
        case when is_cancelled then 0 else gross_minor end as sold_gross_minor,
        case when is_cancelled then 0 else discount_minor end as sold_discount_minor,
        case when is_cancelled then 0 else (quantity - cancelled) * unit_cost_minor end
            as sold_cost_minor
    from lines
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
    orders.customer_id,
    orders.status as order_status,
    measured.quantity,
    {{ money('measured.unit_price_minor') }} as unit_price,
    {{ money('measured.sold_gross_minor') }} as gross_sales,
    {{ money('measured.sold_discount_minor') }} as discounts,
    {{ money('measured.sold_cost_minor') }} as cost,
    {{ money('measured.sold_gross_minor - measured.sold_discount_minor - measured.sold_cost_minor') }}
        as gross_margin,
    measured.allocated,
    measured.backordered,
    measured.shipped,
    measured.cancelled,
    measured.returned
from measured
inner join orders on measured.order_id = orders.id
inner join skus on measured.sku_id = skus.sku_id
inner join warehouses on orders.warehouse_id = warehouses.warehouse_id
