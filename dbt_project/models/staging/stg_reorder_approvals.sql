{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('reorder_approvals', {
    'id': 'bigint',
    'list_id': 'varchar',
    'list_as_of': 'timestamptz',
    'sku_id': 'bigint',
    'warehouse_id': 'bigint',
    'suggested_quantity': 'bigint',
    'approved_quantity': 'bigint',
    'purchase_order_line_id': 'bigint',
    'approved_at': 'timestamptz',
    'changed_by': 'varchar'
}) }}
