{{ config(materialized='table') }}
-- Every day from the first stock move to the business date.
with first_move as (
    select min(moved_on) as day from {{ ref('int_stock_moves') }}
)

{{ days_from_to('(select day from first_move)', business_date()) }}
