{{ config(materialized='view') }}
-- Days of orders whose daily service this build has to do again: the touched ones, and those of
-- orders that were due before the business date and are still not delivered, for time makes them so.
select day from {{ ref('int_touched_days') }}
union distinct
select ordered_on as day
from {{ ref('order_service') }}
where delivered_on is null and deliver_by < {{ business_date() }}
