{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('move_id', ref('int_touched_moves')) }}"
    )
}}
select
    moves.move_id,
    moves.occurred_at,
    moves.moved_on,
    moves.sku_id,
    skus.sku,
    warehouses.warehouse,
    moves.reason,
    moves.reference,
    moves.quantity_in,
    moves.quantity_out,
    moves.quantity_in - moves.quantity_out as quantity_change,
    {{ money('moves.unit_cost_minor') }} as unit_cost,
    {{ money('moves.unit_cost_minor * (moves.quantity_in - moves.quantity_out)') }} as value_change
from {{ ref('int_stock_moves') }} as moves
inner join {{ ref('int_touched_moves') }} as touched on moves.move_id = touched.move_id
inner join {{ ref('dim_skus') }} as skus on moves.sku_id = skus.sku_id
inner join {{ ref('dim_warehouses') }} as warehouses
    on moves.warehouse_id = warehouses.warehouse_id
