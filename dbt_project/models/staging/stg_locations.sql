{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('locations', {
    'id': 'bigint',
    'code': 'varchar',
    'kind': 'varchar',
    'warehouse_id': 'bigint',
    'zone': 'varchar',
    'pick_sequence': 'integer',
    'capacity_units': 'bigint',
    'is_active': 'boolean',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
