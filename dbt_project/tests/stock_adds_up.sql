-- The newest daily stock, with what is dated after it, is the sum of all moves, and so is the level
-- that the shop keeps; no more of a level is allocated than there is.
--
-- Changes from SQLite, whose transactions have no id, land in the order of their commits. On
-- PostgreSQL a level can land before a move that it counts, so there only `oms reconcile` can
-- compare the two, in the database itself.
with last_day as (
    select max(day) as day from {{ ref('int_calendar') }}
),

daily as (
    select
        stock.warehouse_id,
        stock.sku_id,
        stock.on_hand
    from {{ ref('int_stock_daily') }} as stock
    inner join last_day on stock.day = last_day.day
),

later as (
    select
        moves.warehouse_id,
        moves.sku_id,
        sum(moves.quantity_in - moves.quantity_out) as units
    from {{ ref('int_stock_moves') }} as moves
    inner join last_day on moves.moved_on > last_day.day
    group by moves.warehouse_id, moves.sku_id
),

levels as (
    select * from {{ ref('stg_stock_levels') }} where _op <> 'D'
),

pairs as (
    select warehouse_id, sku_id from {{ ref('int_stock_on_hand') }}
    union distinct
    select warehouse_id, sku_id from levels
),

compared as (
    select
        pairs.warehouse_id,
        pairs.sku_id,
        coalesce(ledger.on_hand, 0) as by_moves,
        coalesce(daily.on_hand, 0) + coalesce(later.units, 0) as by_days,
        coalesce(levels.on_hand, 0) as by_level,
        coalesce(levels.allocated, 0) as allocated,
        coalesce(levels._xid, 0) as _xid
    from pairs
    left join {{ ref('int_stock_on_hand') }} as ledger
        on pairs.warehouse_id = ledger.warehouse_id and pairs.sku_id = ledger.sku_id
    left join daily on pairs.warehouse_id = daily.warehouse_id and pairs.sku_id = daily.sku_id
    left join later on pairs.warehouse_id = later.warehouse_id and pairs.sku_id = later.sku_id
    left join levels on pairs.warehouse_id = levels.warehouse_id and pairs.sku_id = levels.sku_id
)

select *
from compared
where
    by_moves <> by_days
    or (_xid = 0 and by_moves <> by_level)
    or allocated > by_level
    or allocated < 0
