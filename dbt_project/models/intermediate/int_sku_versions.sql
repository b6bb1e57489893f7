{{ config(materialized='incremental', incremental_strategy='append') }}
-- Every state that a SKU ever had.
{{ versions('skus', {
    'code': 'varchar',
    'price_minor': 'bigint',
    'is_active': 'boolean',
    'category': 'varchar',
    'changed_by': 'varchar'
}) }}
