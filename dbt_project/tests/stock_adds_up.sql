-- A level is the sum of its moves: the newest daily stock is the level that the shop keeps.
with newest as (
    select
        warehouse_id,
        sku_id,
        on_hand
    from {{ ref('int_stock_daily') }}
    where day = (select max(calendar.day) from {{ ref('int_calendar') }} as calendar)
),

levels as (
    select
        warehouse_id,
        sku_id,
        on_hand,
        allocated
    from {{ ref('stg_stock_levels') }}
    where _op <> 'D'
)

select
    levels.*,
    newest.on_hand as on_hand_by_moves
from levels
left join newest on levels.warehouse_id = newest.warehouse_id and levels.sku_id = newest.sku_id
where
    levels.on_hand <> coalesce(newest.on_hand, 0)
    or levels.allocated > levels.on_hand
    or levels.allocated < 0
