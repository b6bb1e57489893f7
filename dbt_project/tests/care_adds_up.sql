-- Every ticket and every feedback counts once among the days' sums; what is in time is at most what is
-- judged, and what is judged at most what there is.
with by_day as (
    select
        coalesce(sum(tickets), 0) as tickets,
        coalesce(sum(answered), 0) as answered,
        coalesce(sum(solved), 0) as solved,
        coalesce(sum(rating_sum), 0) as rating_sum,
        count(
            case
                when answered_in_time > answers_judged
                    or answers_judged > tickets
                    or answered > answers_judged
                    or solved_in_time > solutions_judged
                    or solutions_judged > tickets
                    or solved > solutions_judged
                    or ratings > tickets then 1
            end
        ) as wrong_rows
    from {{ ref('care_daily') }}
),

facts as (
    select
        count(*) as tickets,
        count(first_responded_at) as answered,
        count(solved_at) as solved,
        coalesce(sum(rating), 0) as rating_sum
    from {{ ref('fct_tickets') }}
),

feedback_by_day as (
    select
        coalesce(sum(answers), 0) as answers,
        coalesce(sum(promoters + passives + detractors), 0) as kinds,
        coalesce(sum(score_sum), 0) as score_sum
    from {{ ref('feedback_daily') }}
),

feedback as (
    select
        count(*) as answers,
        coalesce(sum(score), 0) as score_sum
    from {{ ref('fct_feedback') }}
)

select
    by_day.tickets as tickets_by_day,
    facts.tickets,
    by_day.wrong_rows,
    feedback_by_day.answers as answers_by_day,
    feedback.answers
from by_day
cross join facts
cross join feedback_by_day
cross join feedback
where
    by_day.tickets <> facts.tickets
    or by_day.answered <> facts.answered
    or by_day.solved <> facts.solved
    or by_day.rating_sum <> facts.rating_sum
    or by_day.wrong_rows > 0
    or feedback_by_day.answers <> feedback.answers
    or feedback_by_day.kinds <> feedback.answers
    or feedback_by_day.score_sum <> feedback.score_sum
