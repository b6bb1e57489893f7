{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('day', ref('int_touched_care_days')) }}"
    )
}}
with days as (
    select distinct day from {{ ref('int_touched_care_days') }}
),

feedback as (
    select feedback.*
    from {{ ref('fct_feedback') }} as feedback
    inner join days on feedback.given_on = days.day
),

sums as (
    select
        given_on as day,
        channel,
        count(*) as answers,
        count(case when kind = 'promoter' then 1 end) as promoters,
        count(case when kind = 'passive' then 1 end) as passives,
        count(case when kind = 'detractor' then 1 end) as detractors,
        sum(score) as score_sum
    from feedback
    group by given_on, channel
)

select
    day,
    channel,
    {%- for column in ['answers', 'promoters', 'passives', 'detractors', 'score_sum'] %}
    cast({{ column }} as bigint) as {{ column }},
    {%- endfor %}
    {{ rate('100 * (promoters - detractors)', 'answers') }} as nps
from sums
