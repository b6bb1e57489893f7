{{ config(materialized='table') }}
-- Units that customers ordered and did not cancel, per day, warehouse and SKU, over the 28 days
-- before the business date: demand, whether it could be filled or not.
select
    {{ shop_day('orders.placed_at') }} as day,
    orders.warehouse_id,
    lines.sku_id,
    cast(sum(lines.quantity - lines.cancelled) as bigint) as units
from {{ ref('stg_order_lines') }} as lines
inner join {{ ref('stg_orders') }} as orders on lines.order_id = orders.id
where
    lines._op <> 'D'
    and orders._op <> 'D'
    and {{ on_or_after('orders.placed_at', add_days(business_date(), -28)) }}
    and {{ shop_day('orders.placed_at') }} < {{ business_date() }}
group by 1, 2, 3
