{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('suppliers', {
    'id': 'bigint',
    'code': 'varchar',
    'name': 'varchar',
    'email': 'varchar',
    'lead_time_days': 'integer',
    'review_days': 'integer',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
