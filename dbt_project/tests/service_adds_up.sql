-- Every order that something is wanted of counts once among the days' service, filled units are at
-- most those wanted, and an order that is not on time and in full is not perfect.
with days as (
    select
        coalesce(sum(orders), 0) as orders,
        count(
            case
                when filled_units > known_units
                    or filled_lines > known_lines
                    or filled_orders > known_orders
                    or perfect_orders > otif_orders
                    or otif_orders > due_orders
                    or due_orders > orders then 1
            end
        ) as wrong_rows
    from {{ ref('service_daily') }}
),

orders as (
    select
        count(*) as orders,
        count(case when is_perfect and not is_otif then 1 end) as wrong_rows
    from {{ ref('order_service') }}
)

select
    days.orders as orders_by_day,
    orders.orders,
    days.wrong_rows + orders.wrong_rows as wrong_rows
from days
cross join orders
where days.orders <> orders.orders or days.wrong_rows + orders.wrong_rows > 0
