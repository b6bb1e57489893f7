{{ config(materialized='table') }}
with terms as (
    select * from {{ ref('stg_supplier_terms') }} where _op <> 'D' and is_preferred
),

suppliers as (
    select * from {{ ref('stg_suppliers') }} where _op <> 'D'
)

select
    skus.id as sku_id,
    skus.code as sku,
    skus.name as sku_name,
    skus.department,
    skus.category,
    skus.brand,
    skus.pack_size,
    suppliers.code as supplier,
    suppliers.name as supplier_name,
    {{ money('skus.price_minor') }} as unit_price,
    {{ money('terms.unit_cost_minor') }} as unit_cost,
    suppliers.lead_time_days,
    suppliers.review_days,
    terms.moq,
    terms.pack_multiple,
    skus.is_active
from {{ ref('stg_skus') }} as skus
left join terms on skus.id = terms.sku_id
left join suppliers on terms.supplier_id = suppliers.id
where skus._op <> 'D'
