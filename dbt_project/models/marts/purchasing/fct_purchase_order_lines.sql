{{ config(materialized='table') }}
with receipts as (
    select
        lines.purchase_order_line_id,
        min({{ shop_day('receipts.received_at') }}) as first_received_on,
        max({{ shop_day('receipts.received_at') }}) as last_received_on
    from {{ ref('stg_receipt_lines') }} as lines
    inner join {{ ref('stg_receipts') }} as receipts on lines.receipt_id = receipts.id
    where lines._op <> 'D' and receipts._op <> 'D'
    group by lines.purchase_order_line_id
),

lines as (
    select
        lines.*,
        orders.number,
        orders.supplier_id,
        orders.warehouse_id,
        orders.source,
        orders.status,
        orders.ordered_at,
        orders.expected_on,
        case
            when orders.status in ('closed', 'cancelled') then 0
            when lines.received > lines.quantity then 0
            else lines.quantity - lines.received
        end as outstanding
    from {{ ref('stg_purchase_order_lines') }} as lines
    inner join {{ ref('stg_purchase_orders') }} as orders on lines.purchase_order_id = orders.id
    where lines._op <> 'D' and orders._op <> 'D'
),

dated as (
    select
        lines.*,
        receipts.first_received_on,
        receipts.last_received_on,
        case when lines.outstanding > 0 then {{ business_date() }} else receipts.last_received_on end
            as compared_on
    from lines
    left join receipts on lines.id = receipts.purchase_order_line_id
)

select
    dated.id as purchase_order_line_id,
    dated.number as purchase_order,
    suppliers.code as supplier,
    suppliers.name as supplier_name,
    warehouses.warehouse,
    dated.sku_id,
    skus.sku,
    skus.sku_name,
    dated.source,
    dated.status,
    dated.quantity as ordered,
    dated.received,
    cast(dated.outstanding as bigint) as outstanding,
    {{ money('dated.unit_cost_minor') }} as unit_cost,
    {{ money('dated.unit_cost_minor * dated.outstanding') }} as outstanding_value,
    case
        when dated.compared_on > dated.expected_on
            then {{ days_between('dated.expected_on', 'dated.compared_on') }}
        else 0
    end as days_late,
    {{ shop_day('dated.ordered_at') }} as ordered_on,
    dated.expected_on,
    dated.first_received_on,
    dated.last_received_on
from dated
inner join {{ ref('stg_suppliers') }} as suppliers on dated.supplier_id = suppliers.id
inner join {{ ref('dim_warehouses') }} as warehouses
    on dated.warehouse_id = warehouses.warehouse_id
inner join {{ ref('dim_skus') }} as skus on dated.sku_id = skus.sku_id
