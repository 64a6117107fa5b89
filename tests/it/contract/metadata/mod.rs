//! What every database must do behind `MetadataStore`: one function a rule, run on each database.
//!
//! After every rule the store must have no dangling reference.

mod audit;
mod blobs;
mod collect;
mod dump;
mod fixtures;
mod manifests;
mod postgres;
mod races;
mod referrers;
mod repositories;
mod retention;
mod scrub;
mod sqlite;
mod tags;
mod trust;
mod uploads;
mod verdicts;

/// Runs the rules of the contract on the store that `$open` gives; a rule that is not listed is dead code and warned of.
macro_rules! contract {
    ($open:path) => {
        $crate::contract::metadata::contract! { $open,
            blobs: [
                a_blob_is_found_in_its_repository_only
                inline_bytes_come_back
                a_head_leases_when_less_than_half_is_left
                a_head_on_a_named_blob_takes_the_short_lease
                a_head_never_shortens_a_lease
                a_damaged_blob_is_not_leased_nor_mounted
                damage_is_marked_only_at_the_key_it_was_seen_at
                a_damaged_blob_is_healed_by_the_next_upload
                a_second_commit_of_a_digest_dooms_the_second_object
                a_mount_needs_the_source_to_have_it
                a_mount_from_anywhere_needs_a_member
                a_mount_makes_the_repository
                a_blob_that_a_manifest_names_cannot_be_deleted
                a_deleted_blob_is_gone_for_its_repository_only
                restoring_makes_a_row_or_swaps_the_key
                restoring_takes_a_doomed_object_off_the_list
                restoring_an_inline_blob_dooms_the_object
                scanning_goes_by_id
                keys_are_known_wherever_they_stand
            ],
            uploads: [
                a_session_is_found_by_repository_and_id
                taking_raises_the_epoch_and_fences_the_old_holder
                a_wrong_offset_leaves_the_session_alone
                an_expired_session_is_unknown
                a_renewed_session_lives_on
                the_tail_is_kept_cut_and_joined
                a_key_is_recorded_once
                a_session_gets_another_key
                a_completing_session_can_be_taken_again
                a_checkpoint_opens_a_completing_session
                a_commit_makes_a_leased_member
                a_repeated_commit_is_fine
                a_commit_without_the_session_is_refused
                a_committed_session_answers_until_it_expires
                a_commit_with_an_unused_object_dooms_it
                dropping_and_cancelling_doom_the_key
                a_session_without_key_leaves_nothing
                expiry_ends_a_batch
                a_session_begins_with_its_first_writer
                a_session_is_not_taken_by_others
                a_key_can_come_with_the_take
                a_session_can_be_one_request
                one_request_ends_a_session_that_holds_nothing_only
                a_name_that_ended_begins_no_session
            ],
            manifests: [
                a_manifest_is_found_by_tag_and_digest
                missing_content_is_listed_in_order_and_once
                a_blob_known_only_elsewhere_is_missing
                a_damaged_blob_is_missing
                what_is_not_required_may_be_missing
                a_refused_manifest_makes_no_repository
                sparse_edges_are_filled_by_later_pushes
                a_child_may_be_a_blob
                an_index_waits_for_its_children
                the_same_manifest_again_is_fine
                the_same_manifest_under_another_type_changes_the_type
                what_a_manifest_names_follows_its_type
                a_manifest_carries_signatures_by_how_it_came_last
                preconditions_look_at_the_reference
                naming_a_blob_ends_its_lease
                a_listed_manifest_cannot_be_deleted
                deleting_tells_which_blobs_it_named
                deleting_an_unknown_manifest_says_so
                deleting_ends_old_leases_only_when_asked
                a_tag_is_set_where_it_was_judged
                a_tag_is_set_under_the_policies_by_which_it_was_judged
            ],
            tags: [
                tags_come_in_byte_order_and_pages
                tags_of_a_repository_without_manifests_are_unknown
                a_page_may_start_after_any_text
                lists_say_what_was_committed_last
                a_tag_moves
                an_immutable_tag_stays
                deleting_a_tag_leaves_the_manifest
                a_manifest_with_an_immutable_tag_cannot_be_deleted
            ],
            referrers: [
                referrers_come_in_digest_order_and_pages
                referrers_are_filtered_by_type
                few_referrers_are_one_text
                a_referrer_may_come_before_its_subject
                referrers_of_a_deleted_subject_go_later
                a_returning_subject_keeps_its_referrers
                a_tagged_referrer_stays
                referrers_of_referrers_follow
                pushing_a_doomed_referrer_again_keeps_it
            ],
            repositories: [
                only_repositories_with_manifests_are_listed
                a_deleted_repository_takes_everything_along
                a_deleted_repository_can_come_back
                deleting_an_unknown_repository_says_so
            ],
            collect: [
                a_lease_holds_an_unnamed_blob
                the_last_edge_frees_a_blob
                a_blob_shared_by_manifests_stays
                a_blob_in_another_repository_stays
                an_inline_blob_just_goes
                collecting_goes_in_batches
                a_claim_is_not_handed_out_twice
                a_failed_removal_comes_again
                a_purge_is_pending_until_the_object_is_gone
                a_purge_is_not_pending_while_something_holds_the_blob
                counts_add_up
                a_hold_keeps_objects_until_it_ends
                a_doomed_object_waits_as_long_as_it_was_told
            ],
            dump: [
                facts_come_back_as_they_were
                a_dump_is_of_one_moment
                a_load_ends_sessions_and_dooms_what_nobody_knows_any_more
                a_load_believes_no_signature_that_names_more
                a_load_that_fails_leaves_everything
                columns_that_a_backup_has_not_are_empty
                a_copy_is_served_only_when_it_is_whole
                adopted_objects_go_unless_they_are_only_read
                adopting_takes_the_place_of_damaged_bytes_only
            ],
            retention: [
                facts_tell_tags_and_times
                facts_tell_what_is_held
                a_pull_is_written_down_once_an_hour
                a_push_of_the_same_bytes_is_noticed_once_an_hour
                a_retired_manifest_goes_as_by_a_delete
                a_manifest_whose_facts_have_changed_stays
                what_an_index_listed_is_untagged_from_its_end_on
                usage_counts_a_blob_once
                garbage_is_listed_as_it_would_be_collected
            ],
            scrub: [
                wrong_bytes_in_a_row_are_marked_only_while_they_are_there
                a_mark_is_taken_only_where_the_bytes_were_right
                wrong_bytes_of_a_manifest_are_marked_and_healed_by_the_next_push
                damaged_ones_are_counted
                a_pass_goes_on_where_it_was
                one_node_at_a_time_reads
                a_new_pass_begins_when_it_is_due
            ],
            trust: [
                tags_lead_to_manifests_directly_and_through_indexes
                documents_are_listed_newest_first
                signatures_name_a_blob_first_by_their_layers_and_last_by_their_config
            ],
            verdicts: [
                the_end_of_a_pass_is_told_once
                of_many_who_find_it_out_one_tells
                what_never_passed_does_not_fail
                a_doubtful_refusal_ends_no_pass
                what_is_found_out_late_turns_nothing
                nothing_is_told_of_what_is_not_there
                a_walk_goes_over_all_in_order
                one_node_at_a_time_walks
            ],
            races: [
                double_last_delete
                late_reference
                ghost_head
                a_head_of_a_collected_blob_is_none
                a_mount_revives_an_orphan
                a_push_revives_an_orphan
                delete_then_push_again_before_the_purge
                index_naming_a_child_that_goes
                two_takers_of_one_session
                a_cancelled_session_cannot_commit
                a_commit_after_expiry_was_swept_is_refused
                two_pushers_of_one_digest
                two_collectors
                tag_move_against_collection
                many_writers_at_once
            ],
        }
    };
    ($open:path, $($module:ident: [$($rule:ident)+],)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $rule() {
                let opened = $open().await;
                crate::contract::metadata::$module::$rule(opened.store()).await;
                let findings = opened.store().reference_check().await.expect("a check");
                assert!(findings.is_empty(), "{findings:#?}");
                opened.store().close().await;
            })+
        })+
    };
}
use contract;
