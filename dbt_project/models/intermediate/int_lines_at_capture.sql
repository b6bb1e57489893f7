{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}
-- Order lines as they were written first: how many units the stock could fill at once. A line that
-- had changed before the lake first loaded it is not here, for its first state is not known.
{{ stage('order_lines', {
    'id': 'bigint',
    'quantity': 'bigint',
    'allocated': 'bigint'
}, only="op = 'I' and version = 1") }}
