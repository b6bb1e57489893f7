{{ config(materialized='view') }}
-- Units that customers wait for, per warehouse and SKU.
select
    orders.warehouse_id,
    lines.sku_id,
    cast(sum(lines.backordered) as bigint) as backordered
from {{ ref('stg_order_lines') }} as lines
inner join {{ ref('stg_orders') }} as orders on lines.order_id = orders.id
where lines._op <> 'D' and orders._op <> 'D' and lines.backordered > 0
group by orders.warehouse_id, lines.sku_id
