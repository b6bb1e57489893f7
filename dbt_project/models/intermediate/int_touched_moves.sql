{{ config(materialized='table') }}
-- Moves that this build has to bring: new ones, and all of a SKU or a warehouse that changed.
with places as (
    select
        locations.id,
        locations._file,
        warehouses._file as _warehouse_file
    from {{ ref('stg_locations') }} as locations
    left join {{ ref('stg_warehouses') }} as warehouses on locations.warehouse_id = warehouses.id
)

select moves.id as move_id
from {{ ref('stg_stock_moves') }} as moves
left join {{ ref('stg_skus') }} as skus on moves.sku_id = skus.id
left join places as origins on moves.from_location_id = origins.id
left join places as destinations on moves.to_location_id = destinations.id
where
    moves._file > '{{ processed_up_to() }}'
    or skus._file > '{{ processed_up_to() }}'
    or origins._file > '{{ processed_up_to() }}'
    or origins._warehouse_file > '{{ processed_up_to() }}'
    or destinations._file > '{{ processed_up_to() }}'
    or destinations._warehouse_file > '{{ processed_up_to() }}'
