{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('day', ref('int_touched_care_days')) }}"
    )
}}
-- Times are summed in whole seconds: hours with a fraction would not sum to the same in any order.
with days as (
    select distinct day from {{ ref('int_touched_care_days') }}
),

tickets as (
    select
        tickets.*,
        cast(round(tickets.hours_to_first_response * 3600) as bigint) as response_seconds,
        cast(round(tickets.hours_to_solution * 3600) as bigint) as solution_seconds
    from {{ ref('fct_tickets') }} as tickets
    inner join days on tickets.opened_on = days.day
),

sums as (
    select
        opened_on as day,
        topic,
        channel,
        count(*) as tickets,
        count(response_seconds) as answered,
        count(is_answered_in_time) as answers_judged,
        count(case when is_answered_in_time then 1 end) as answered_in_time,
        count(solution_seconds) as solved,
        count(is_solved_in_time) as solutions_judged,
        count(case when is_solved_in_time then 1 end) as solved_in_time,
        count(case when reopened > 0 then 1 end) as reopened,
        count(rating) as ratings,
        coalesce(sum(rating), 0) as rating_sum,
        coalesce(sum(response_seconds), 0) as response_seconds,
        coalesce(sum(solution_seconds), 0) as solution_seconds,
        {{ quantile('hours_to_first_response', 0.5) }} as median_hours_to_first_response,
        {{ quantile('hours_to_solution', 0.5) }} as median_hours_to_solution
    from tickets
    group by opened_on, topic, channel
)

select
    day,
    topic,
    channel,
    {%- for column in [
        'tickets', 'answered', 'answers_judged', 'answered_in_time', 'solved', 'solutions_judged',
        'solved_in_time', 'reopened', 'ratings', 'rating_sum', 'response_seconds',
        'solution_seconds'
    ] %}
    cast({{ column }} as bigint) as {{ column }},
    {%- endfor %}
    {{ rate('answered_in_time', 'answers_judged') }} as first_response_sla,
    {{ rate('solved_in_time', 'solutions_judged') }} as solution_sla,
    {{ rate('response_seconds', 'answered * 3600') }} as mean_hours_to_first_response,
    {{ rate('solution_seconds', 'solved * 3600') }} as mean_hours_to_solution,
    median_hours_to_first_response,
    median_hours_to_solution,
    {{ rate('rating_sum', 'ratings') }} as average_rating
from sums
