{#-
    Of a mart that is made by increments the rows that this build brought, where the run asks for no
    more (`test_rows: touched`, after a build that tested all on the same day); else all of it.

    A rule that holds row by row, or among the rows of a key, stays true of what no build touches.
    What breaks without a build, or between keys, is found by the first build of the next day.
-#}
{% macro brought(relation) -%}
    {%- set told = namespace(by=none) -%}
    {%- if execute and var('test_rows') == 'touched' -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.alias == relation.identifier -%}
            {%- for hook in node.config['pre-hook'] -%}
                {%- set told.by = modules.re.search("forget\\('(\\w+)', ref\\('(\\w+)'\\)\\)", hook.sql) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if told.by is none -%}
        {{ return(relation) }}
    {%- endif -%}
    {%- set key, touched = told.by.group(1), told.by.group(2) -%}
    {{ return('(select * from ' ~ relation ~ ' where ' ~ key ~ ' in (select ' ~ key ~ ' from '
        ~ relation.incorporate(path={'schema': 'intermediate', 'identifier': touched})
        ~ ')) as ' ~ relation.identifier) }}
{%- endmacro %}

{#- What a generic test of a model looks at, in place of dbt's own macro. -#}
{% macro duckdb__get_where_subquery(relation) -%}
    {%- set rows = brought(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if where or rows is string -%}
        {{ return('(select * from ' ~ rows ~ ' where ' ~ (where or 'true') ~ ') as dbt_subquery') }}
    {%- endif -%}
    {{ return(relation) }}
{%- endmacro %}
