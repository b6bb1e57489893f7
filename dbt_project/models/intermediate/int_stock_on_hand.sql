{{ config(materialized='view') }}
-- Units in each warehouse by the ledger: what moved in less what moved out.
select
    warehouse_id,
    sku_id,
    cast(sum(quantity_in - quantity_out) as bigint) as on_hand
from {{ ref('int_stock_moves') }}
group by warehouse_id, sku_id
