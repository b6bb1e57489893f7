{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('receipts', {
    'id': 'bigint',
    'number': 'varchar',
    'purchase_order_id': 'bigint',
    'warehouse_id': 'bigint',
    'received_at': 'timestamptz',
    'changed_by': 'varchar'
}) }}
