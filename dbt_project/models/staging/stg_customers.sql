{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('customers', {
    'id': 'bigint',
    'email': 'varchar',
    'external_id': 'varchar',
    'name': 'varchar',
    'phone': 'varchar',
    'customer_group': 'varchar',
    'created_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
