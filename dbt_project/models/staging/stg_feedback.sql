{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('feedback', {
    'id': 'bigint',
    'order_id': 'bigint',
    'customer_id': 'bigint',
    'score': 'integer',
    'given_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
