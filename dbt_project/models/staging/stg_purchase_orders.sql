{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('purchase_orders', {
    'id': 'bigint',
    'number': 'varchar',
    'supplier_id': 'bigint',
    'warehouse_id': 'bigint',
    'status': 'varchar',
    'source': 'varchar',
    'currency': 'varchar',
    'ordered_at': 'timestamptz',
    'expected_on': 'date',
    'closed_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
