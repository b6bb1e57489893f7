{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('stock_counts', {
    'id': 'bigint',
    'number': 'varchar',
    'warehouse_id': 'bigint',
    'status': 'varchar',
    'reason': 'varchar',
    'created_at': 'timestamptz',
    'created_by': 'varchar',
    'counted_at': 'timestamptz',
    'decided_at': 'timestamptz',
    'decided_by': 'varchar',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
