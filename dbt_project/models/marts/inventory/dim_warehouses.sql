{{ config(materialized='table') }}
select
    id as warehouse_id,
    code as warehouse,
    name as warehouse_name,
    city,
    region,
    country
from {{ ref('stg_warehouses') }}
where _op <> 'D'
