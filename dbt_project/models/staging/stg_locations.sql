{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('locations', {
    'id': 'bigint',
    'code': 'varchar',
    'kind': 'varchar',
    'warehouse_id': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
