{{ config(materialized='view') }}
-- Units promised to orders and not shipped yet, per warehouse and SKU: the lines of open shipments.
select
    shipments.warehouse_id,
    lines.sku_id,
    cast(sum(lines.quantity) as bigint) as allocated
from {{ ref('stg_shipment_lines') }} as lines
inner join {{ ref('stg_shipments') }} as shipments on lines.shipment_id = shipments.id
where
    lines._op <> 'D'
    and shipments._op <> 'D'
    and shipments.status in ('allocated', 'picked', 'packed')
group by shipments.warehouse_id, lines.sku_id
