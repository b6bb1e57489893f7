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
    'sent_at': 'timestamptz',
    'confirmed_at': 'timestamptz',
    'closed_at': 'timestamptz',
    'supplier_reference': 'varchar',
    'note': 'varchar',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
