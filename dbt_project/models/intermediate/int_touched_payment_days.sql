{{ config(materialized='view') }}
-- Days of the payment events of touched orders. An event never changes, so its day needs no memory.
select distinct events.occurred_on as day
from {{ ref('stg_payment_events') }} as events
inner join {{ ref('stg_payments') }} as payments on events.payment_id = payments.id
inner join {{ ref('int_touched_orders') }} as touched on payments.order_id = touched.order_id
