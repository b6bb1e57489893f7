{{ config(materialized='table') }}
select
    lines.id as stock_count_line_id,
    counts.number as stock_count,
    counts.status,
    warehouses.warehouse,
    locations.code as location,
    locations.kind as location_kind,
    locations.zone,
    lines.sku_id,
    skus.sku,
    {{ shop_day('counts.counted_at') }} as counted_on,
    lines.expected,
    lines.counted,
    lines.counted - lines.expected as difference,
    cast((lines.counted - lines.expected) * skus.unit_cost as decimal(18, 2)) as difference_value,
    lines.counted = lines.expected as is_accurate
from {{ ref('stg_stock_count_lines') }} as lines
inner join {{ ref('stg_stock_counts') }} as counts
    on lines.stock_count_id = counts.id and counts._op <> 'D'
inner join {{ ref('stg_locations') }} as locations on lines.location_id = locations.id
inner join {{ ref('dim_skus') }} as skus on lines.sku_id = skus.sku_id
inner join {{ ref('dim_warehouses') }} as warehouses
    on counts.warehouse_id = warehouses.warehouse_id
where lines._op <> 'D' and lines.counted is not null and lines.expected is not null
