{{ config(materialized='table') }}
-- Moves that this build has to bring: new ones, and all of a SKU that changed.
select moves.id as move_id
from {{ ref('stg_stock_moves') }} as moves
left join {{ ref('stg_skus') }} as skus on moves.sku_id = skus.id
where moves._file > '{{ processed_up_to() }}' or skus._file > '{{ processed_up_to() }}'
