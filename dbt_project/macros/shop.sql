{#- Money: minor units of the base currency to decimals, exactly. -#}
{% macro money(minor) -%}cast(({{ minor }}) * 0.01 as decimal(18, 2)){%- endmacro %}

{#- The last day of the daily marts: the run's business date, or the shop's today. -#}
{% macro business_date() -%}
    {%- if var('business_date') -%}
        cast('{{ var("business_date") }}' as date)
    {%- else -%}
        {{ shop_day('current_timestamp') }}
    {%- endif -%}
{%- endmacro %}
