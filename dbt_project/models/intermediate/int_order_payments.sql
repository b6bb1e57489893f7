{{ config(materialized='view') }}
-- What was captured, refunded and voided of each order, in minor units.
select
    order_id,
    cast(sum(captured_minor) as bigint) as captured_minor,
    cast(sum(refunded_minor) as bigint) as refunded_minor,
    cast(sum(voided_minor) as bigint) as voided_minor
from {{ ref('stg_payments') }}
where _op <> 'D'
group by order_id
