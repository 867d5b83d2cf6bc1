"""Which test presses the keys of which binding: a key that no test presses may as well do nothing.

Tests with the ``bench`` fixture fail when they do not press what is said here.
"""

from __future__ import annotations

PRESSED = {
    "shell_keys.digits_function_keys_and_e_lead_to_the_screens": (
        "app.go_overview app.go_streams app.go_rpc app.go_connections app.go_events app.go_rooms "
        "app.go_uploads app.go_chaos app.go_record app.go_explorer"
    ),
    "table_keys.the_line_says_whether_it_is_a_filter_and_keeps_the_last_one": "app.filter app.leave",
    "table_keys.the_capture_filter_goes_to_the_server_as_far_as_it_can": "app.capture",
    "shell_keys.the_command_line_does_what_it_says_and_closes": "app.command",
    "shell_keys.the_palette_finds_by_letters_and_does_it": "app.palette",
    "shell_keys.jumping_focuses_the_pane_of_the_letter": "app.jump jump.close",
    "shell_keys.the_log_tells_what_to_type_and_copies_it": "app.log log.close log.copy",
    "shell_keys.minus_and_backspace_go_back_and_never_quit": "app.back",
    "shell_servers.keys_go_from_server_to_server_and_to_all": "app.next_server app.previous_server",
    "shell_servers.alt_and_a_digit_lead_to_each_of_nine_servers": (
        "app.server_1 app.server_2 app.server_3 app.server_4 app.server_5 app.server_6 app.server_7 "
        "app.server_8 app.server_9"
    ),
    "replay_screen.r_records_anywhere_and_says_so": "app.record record.bookmark",
    "chaos_form.it_arms_after_the_server_said_what_would_be_struck": "app.chaos",
    "chaos_screen.c_removes_the_selected_fault_and_shift_x_all": "app.disarm chaos.clear",
    "devtools_rooms.a_connection_is_closed_after_a_confirmation": "app.kick kick.close kick.down kick.up",
    "shell_keys.help_is_about_the_focused_pane_and_the_view": "app.help help.close",
    "devtools_app.q_goes_back_and_then_quits": "app.quit_or_back",
    "shell_keys.ctrl_q_quits": "app.quit",
    "devtools_app.s_sorts_by_the_next_column_and_shift_s_turns_around": "view.sort view.reverse",
    "events_screen.space_freezes_the_timeline_and_counts_what_happens_meanwhile": "view.freeze",
    "shell_keys.w_cuts_long_lines_or_wraps_them": "view.wrap",
    "shell_keys.z_gives_the_screen_to_the_focused_pane_and_back": "view.zoom",
    "devtools_app.keys_move_the_cursor": "table.down table.up table.page_down table.page_up table.first table.last",
    "table_keys.angle_brackets_choose_the_column_to_sort_by": "table.sort_left table.sort_right",
    "table_keys.f_lets_the_newest_row_go_and_follows_it_again": "table.follow",
    "table_keys.a_pinned_row_stays_on_top_and_when_it_is_gone": "table.pin",
    "table_keys.marks_and_comments_can_be_filtered": "table.mark table.comment ask.leave",
    "table_keys.search_goes_through_the_rows_and_around": "table.search table.next_hit table.previous_hit",
    "events_screen.keys_filter_find_errors_show_payloads_and_clear": (
        "table.next_error table.previous_error events.form events.clear"
    ),
    "chaos_screen.y_copies_the_command": "table.copy",
    "copy_export.e_writes_the_rows_that_are_shown": "table.export",
    "devtools_screens.a_long_payload_scrolls_by_key": (
        "payload.down payload.up payload.page_down payload.page_up payload.first payload.last"
    ),
    "overview.enter_and_a_click_go_to_where_more_is_told": "overview.drill",
    "devtools_screens.enter_goes_to_the_events_then_the_payload_and_escape_back": "streams.open",
    "streams_panes.t_shows_who_listens_to_the_topic": "streams.pane",
    "devtools_screens.p_pauses_the_capture_and_the_last_column_goes_on": "streams.pause",
    "streams_panes.v_compares_a_payload_with_the_last_one_of_its_item": "streams.form",
    "devtools_screens.c_clears_this_topic_and_shift_c_all": "streams.clear streams.clear_all",
    "devtools_policies.keys_about_calls_do_nothing_while_another_table_is_shown": "rpc.table",
    "devtools_screens.o_shows_failed_calls_only": "rpc.failed",
    "events_screen.a_call_tells_its_steps_its_cause_and_what_it_led_to": "rpc.open",
    "devtools_screens.a_call_shows_what_it_was_about": "rpc.form",
    "devtools_screens.c_clears_the_history": "rpc.clear",
    "streams_panes.a_connection_shows_what_it_listens_to_and_leads_there": "connections.open",
    "devtools_screens.connections_show_their_figures_and_who_came_and_went": "connections.pane",
    "streams_panes.u_shows_the_connections_of_a_user_and_all_again": "connections.user",
    "streams_panes.d_opens_the_form_for_this_connection_only": "connections.fault",
    "events_screen.enter_unfolds_what_led_to_an_event_and_what_it_led_to": (
        "events.unfold chain.close chain.drill chain.form"
    ),
    "devtools_rooms.a_room_shows_its_figures_and_its_members": "rooms.open rooms.form",
    "devtools_rooms.on_a_small_screen_enter_makes_room_for_the_members": "rooms.refused",
    "devtools_uploads.enter_goes_to_the_details_of_an_upload_and_c_clears": "uploads.open uploads.clear",
    "devtools_uploads.the_cursor_stays_on_an_upload_that_ends_and_tells_how": "uploads.form",
    "chaos_screen.enter_leads_to_the_details_where_there_is_no_room": "chaos.open",
    "chaos_screen.a_new_fault_is_asked_for": "chaos.new",
    "chaos_screen.a_preset_fills_the_form": "chaos.preset preset.close preset.down preset.up",
    "chaos_screen.t_lets_the_selected_fault_live_longer": "chaos.renew",
    "replay_screen.a_recording_of_the_list_is_played": "record.open",
    "replay_screen.the_keys_of_a_recording": (
        "record.pause record.back record.step record.earlier record.later record.far_earlier "
        "record.far_later record.faster record.slower record.time"
    ),
    "explorer.enter_goes_to_the_details_which_follow_the_pipeline": "explorer.open explorer.form",
    "explorer.who_may_not_call_is_told_how": "explorer.compose",
    "shell_servers.all_servers_are_rows_with_totals_of_those_that_live": "servers.open",
    "table_keys.up_and_down_go_through_what_was_typed_on_this_screen": "filter.before filter.after",
    "table_keys.tab_completes_fields_and_values": "filter.complete",
    "shell_keys.up_and_down_go_through_what_was_entered": "command.before command.after",
    "shell_keys.tab_completes_commands_and_what_they_take": "command.complete command.complete_back",
    "shell_keys.an_empty_line_and_escape_close_the_command_line": "command.close",
    "shell_keys.arrows_choose_in_the_palette_and_escape_leaves": "palette.close palette.down palette.up",
    "copy_export.menus_show_hostile_names_as_they_are": "menu.leave",
    "copy_export.y_copies_to_the_clipboard_and_a_file": "menu.down menu.up menu.first menu.last",
    "chaos_form.actions_and_buttons_can_be_clicked_and_the_form_left": "fault.close",
    "chaos_form.enter_and_arrows_go_from_field_to_field_and_arm_nothing": "fault.down fault.up fault.next",
    "chaos_form.a_text_somebody_wrote_stays_when_the_action_changes": "fault.next_choice fault.previous_choice",
    "explorer.up_and_down_bring_back_what_was_sent": "composer.close composer.older composer.newer",
    "explorer.a_call_is_written_sent_and_its_answer_shown": "composer.send",
    "explorer.enter_goes_on_and_the_button_sends_as_the_chosen_user": "composer.next",
}
