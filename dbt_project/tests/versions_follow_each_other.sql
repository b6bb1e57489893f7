-- A version ends where the next one begins, the first is number 1, and the last of an order has the
-- status that the order has now.
with versions as (
    select
        order_id,
        version,
        status,
        from_at,
        until_at,
        lead(from_at) over (partition by order_id order by version) as next_from,
        lag(version) over (partition by order_id order by version) as version_before
    from {{ brought(ref('order_history')) }}
)

select
    versions.order_id,
    versions.version
from versions
left join {{ ref('stg_orders') }} as orders on versions.order_id = orders.id and orders._op <> 'D'
where
    versions.version <> coalesce(versions.version_before, 0) + 1
    or versions.until_at <> versions.next_from
    or (versions.until_at is null and (orders.id is null or versions.status <> orders.status))
