{{ config(materialized='view') }}
-- Units that suppliers still owe, per warehouse and SKU, and when the next are due.
select
    orders.warehouse_id,
    lines.sku_id,
    cast(sum(lines.quantity - lines.received) as bigint) as on_order,
    min(coalesce(lines.confirmed_on, orders.expected_on)) as next_expected_on
from {{ ref('stg_purchase_order_lines') }} as lines
inner join {{ ref('stg_purchase_orders') }} as orders on lines.purchase_order_id = orders.id
where
    lines._op <> 'D'
    and orders._op <> 'D'
    and orders.status in ('sent', 'confirmed', 'partly_received')
    and lines.received < lines.quantity
group by orders.warehouse_id, lines.sku_id
