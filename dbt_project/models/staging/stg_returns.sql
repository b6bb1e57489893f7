{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('returns', {
    'id': 'bigint',
    'number': 'varchar',
    'order_id': 'bigint',
    'warehouse_id': 'bigint',
    'status': 'varchar',
    'reason': 'varchar',
    'requested_at': 'timestamptz',
    'received_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
