{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('warehouses', {
    'id': 'bigint',
    'code': 'varchar',
    'name': 'varchar',
    'line1': 'varchar',
    'city': 'varchar',
    'region': 'varchar',
    'postal_code': 'varchar',
    'country': 'varchar',
    'latitude': 'double',
    'longitude': 'double',
    'rank': 'integer',
    'is_active': 'boolean',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
