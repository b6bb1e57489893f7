-- A day closes at what it opened with and what moved, and opens at what the day before closed with.
with days as (
    select
        warehouse,
        sku_id,
        day,
        opening,
        opening + received - shipped + returned + adjusted as closing,
        on_hand,
        lag(on_hand) over (partition by warehouse, sku_id order by day) as closed_before,
        lag(day) over (partition by warehouse, sku_id order by day) as day_before
    from {{ ref('stock_daily') }}
)

select
    warehouse,
    sku_id,
    day
from days
where
    on_hand <> closing
    or opening <> coalesce(closed_before, 0)
    or day_before <> {{ add_days('day', -1) }}
