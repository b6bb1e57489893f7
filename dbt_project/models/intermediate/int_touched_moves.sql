{{ config(materialized='table') }}
-- Moves that this build has to bring: new ones, and all of a SKU or a warehouse that changed.
with places as (
    select locations.id
    from {{ ref('stg_locations') }} as locations
    left join {{ ref('stg_warehouses') }} as warehouses on locations.warehouse_id = warehouses.id
    where
        locations._file > '{{ processed_up_to() }}'
        or warehouses._file > '{{ processed_up_to() }}'
)

select id as move_id
from {{ ref('stg_stock_moves') }}
where _file > '{{ processed_up_to() }}'
union distinct
select moves.id as move_id
from {{ ref('stg_stock_moves') }} as moves
inner join {{ ref('stg_skus') }} as skus on moves.sku_id = skus.id
where skus._file > '{{ processed_up_to() }}'
union distinct
select moves.id as move_id
from {{ ref('stg_stock_moves') }} as moves
inner join places on moves.from_location_id = places.id
union distinct
select moves.id as move_id
from {{ ref('stg_stock_moves') }} as moves
inner join places on moves.to_location_id = places.id
