{{ config(materialized='view') }}
-- Units that customers wait for, per warehouse and SKU.
select
    warehouses.warehouse_id,
    lines.sku_id,
    cast(sum(lines.backordered) as bigint) as backordered
from {{ ref('fct_order_lines') }} as lines
inner join {{ ref('dim_warehouses') }} as warehouses on lines.warehouse = warehouses.warehouse
where lines.backordered > 0
group by warehouses.warehouse_id, lines.sku_id
