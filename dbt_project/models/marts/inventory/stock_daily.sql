{{ config(materialized='view') }}
select
    daily.day,
    warehouses.warehouse,
    daily.sku_id,
    skus.sku,
    daily.opening,
    daily.received,
    daily.shipped,
    daily.returned,
    daily.adjusted,
    daily.on_hand,
    skus.unit_cost,
    cast(daily.on_hand * skus.unit_cost as decimal(18, 2)) as stock_value,
    daily.on_hand = 0 as is_stocked_out
from {{ ref('int_stock_daily') }} as daily
inner join {{ ref('dim_skus') }} as skus on daily.sku_id = skus.sku_id
inner join {{ ref('dim_warehouses') }} as warehouses
    on daily.warehouse_id = warehouses.warehouse_id
