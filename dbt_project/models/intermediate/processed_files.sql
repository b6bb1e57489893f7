{{ config(materialized='incremental', incremental_strategy='append') }}
-- The landed files that a whole build has gone through; last in every build, after all marts.
{% for mart in [
    'backorders', 'care_daily', 'customer_cohorts', 'customers', 'dim_skus', 'dim_warehouses',
    'fct_feedback', 'fct_order_lines', 'fct_orders', 'fct_payments', 'fct_purchase_order_lines',
    'fct_refunds', 'fct_returns', 'fct_shipments', 'fct_stock_counts', 'fct_stock_moves',
    'fct_tickets', 'feedback_daily', 'inventory_health', 'inventory_performance', 'order_history', 'order_service',
    'orders_daily', 'payments_daily', 'sales_daily', 'service_daily', 'sku_history',
    'sku_sales_daily', 'stock_daily', 'supplier_performance'
] %}
-- depends_on: {{ ref(mart) }}
{% endfor %}
with newest as (
    {% for entity in [
        'skus', 'suppliers', 'supplier_terms', 'customers', 'warehouses', 'locations',
        'stock_levels', 'stock_moves', 'orders', 'order_lines', 'shipments', 'shipment_lines',
        'payments', 'payment_events', 'refunds', 'returns', 'return_lines', 'purchase_orders',
        'purchase_order_lines', 'receipts', 'receipt_lines', 'reorder_approvals', 'picks',
        'stock_counts', 'stock_count_lines', 'payment_operations', 'refund_items', 'tickets',
        'ticket_messages', 'feedback'
    ] %}
    select max(_file) as file_name from {{ ref('stg_' ~ entity) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select max(file_name) as file_name
from newest
where file_name > '{{ processed_up_to() }}'
having max(file_name) is not null
