{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
-- depends_on: {{ ref('int_touched_care_days') }}
select
    feedback.id as feedback_id,
    feedback.order_id,
    orders.number as order_number,
    feedback.customer_id,
    orders.channel,
    {{ shop_day('feedback.given_at') }} as given_on,
    feedback.score,
    case
        when feedback.score >= 9 then 'promoter'
        when feedback.score >= 7 then 'passive'
        else 'detractor'
    end as kind
from {{ ref('stg_feedback') }} as feedback
inner join {{ ref('int_touched_orders') }} as touched on feedback.order_id = touched.order_id
inner join {{ ref('stg_orders') }} as orders
    on feedback.order_id = orders.id and orders._op <> 'D'
where feedback._op <> 'D'
